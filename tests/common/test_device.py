import torch

from common.device import placed


def test_pictures_stay_in_memory_where_they_would_fill_the_device(monkeypatch):
    images = torch.zeros(10, 1, 10, 10, dtype=torch.uint8)  # 1000 bytes
    sent = []

    class Pictures(torch.Tensor):
        def to(self, device):
            sent.append(device)
            return "sent"

    images, cuda = images.as_subclass(Pictures), torch.device("cuda:0")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2000, 10**9))
    assert placed(images, cuda) is images
    assert sent == []
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2001, 10**9))
    assert placed(images, cuda) == "sent"
    assert sent == [cuda]
    assert placed(images, torch.device("cpu")) is images
