"""Wrong answers as learners type them: the task, the body of its function, and a regular expression
for what `check` must say.

Written before `check` was improved. By then it named 19 of the 60.
"""

ASF = """
rows = [line.split() for line in text.splitlines() if line and line[0] != "#"]
rows = [row for row in rows if len(row) >= 7]
"""
SIDES = "size = torch.tensor([width, height])\n"
POOLED = """
x = faces
for convolution in convolutions:
    x = F.max_pool2d(torch.relu(convolution(x)), 3, 2)
"""
LOSS = "loss = ((network(faces) - truth) ** 2).mean()\n"
TURN = """
a = math.radians(degrees)
turn = torch.tensor([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]])
c = torch.tensor([(width - 1) / 2, (height - 1) / 2])
"""
COPY = "points = points.clone()\n"
BACK = "back = network(faces.flip(-1))[:, flip_order].clone()\n"
EYES = "eyes = (truth[:, outer_eyes[0]] - truth[:, outer_eyes[1]]).norm(dim=-1)\n"
BOX = """
size = scale * boxes[:, 2:].amax(1)
left = boxes[:, 0] + boxes[:, 2] / 2 - size / 2
top = boxes[:, 1] + boxes[:, 3] / 2 - size / 2
s = side / size
matrices = torch.zeros(len(boxes), 2, 3)
matrices[:, 0, 0] = matrices[:, 1, 1] = s
"""
CELLS = """
h, w = scores.shape[-2:]
p = scores.flatten(2).softmax(-1).view(scores.shape)
across, down = torch.arange(w) + 0.5, torch.arange(h) + 0.5
"""
GAUSS = """
h, w = log_heatmaps.shape[-2:]
x = (torch.arange(w) + 0.5 - truth[..., :1] * w)[:, :, None, :]
y = (torch.arange(h) + 0.5 - truth[..., 1:] * h)[:, :, :, None]
"""

WRONG = [
    # read_asf
    ("read_asf", ASF.replace(">=", "==") + """
return torch.tensor([[float(r[2]) * width - 0.5, float(r[3]) * height - 0.5] for r in rows])
""", "10 columns"),
    ("read_asf", ASF + "return torch.tensor([[float(r[2]) * width, float(r[3]) * height] "
     "for r in rows])", "half a pixel"),
    ("read_asf", ASF + """
return torch.tensor([[round(float(r[2]) * width - 0.5), round(float(r[3]) * height - 0.5)]
                     for r in rows])
""", "whole"),
    ("read_asf", ASF + "return torch.tensor([[float(r[3]) * height, float(r[2]) * width] "
     "for r in rows])", "exchanged.*half a pixel|half a pixel.*exchanged"),
    ("read_asf", ASF.replace("if line and", "if") + "return torch.tensor([[float(r[2]) * width - "
     "0.5, float(r[3]) * height - 0.5] for r in rows])", r"IndexError.*line"),
    # to_fractions
    ("to_fractions", SIDES + "return points / size", "half a pixel"),
    ("to_fractions", """
x = (points[:, 0] + 0.5) / width
y = (points[:, 1] + 0.5) / height
return torch.stack([x, y], dim=1)
""", r"\(\.\.\., 2\)|one point|shape \(2,\)"),
    ("to_fractions", "return points / torch.tensor([height, width])",
     "half a pixel.*height|height.*half a pixel"),
    ("to_fractions", "return (points + 0.5) / width", r"\by\b.*(times|factor|width)"),
    # to_pixels
    ("to_pixels", SIDES + "return (fractions * size - 0.5).round()", "whole"),
    ("to_pixels", SIDES + "return (fractions * size - 0.5).long()", "whole"),
    ("to_pixels", SIDES + "return fractions * (size - 1)", "W - 1"),
    ("to_pixels", SIDES + "return (fractions - 0.5) * size", "half a picture"),
    # mean_face_error
    ("mean_face_error", "return ((train.mean() - test) ** 2).mean()",
     r"mean\(\) without|one number"),
    ("mean_face_error", "return (train.mean(0) - test).norm(dim=-1).mean() ** 2",
     "mean distance"),
    ("mean_face_error", "return ((train.mean(0) - test) ** 2).sum() / len(test)", r"116|sum"),
    ("mean_face_error", "return (train.mean(0) - test).norm(dim=-1).mean()", "distance"),
    ("mean_face_error", "return ((train.mean(0) - test) ** 2).mean().sqrt()", "root"),
    # nose_net
    ("nose_net", POOLED + """
x = x.flatten(1)
for linear in linears:
    x = torch.relu(linear(x))
return x.view(-1, 1, 2)
""", "ReLU after the last"),
    ("nose_net", POOLED + """
x = linears[1](torch.relu(linears[0](x.flatten(1))))
return torch.sigmoid(x).view(-1, 1, 2)
""", "sigmoid"),
    ("nose_net", POOLED.replace("torch.relu(convolution(x))", "convolution(x)") + """
return linears[1](linears[0](x.flatten(1))).view(-1, 1, 2)
""", "no ReLU after the conv.*linear"),
    ("nose_net", POOLED.replace("3, 2)", "2)") + """
return linears[1](torch.relu(linears[0](x.flatten(1)))).view(-1, 1, 2)
""", "2 wide"),
    # training_step
    ("training_step", LOSS + "loss.backward()\noptimizer.step()\nreturn loss",
     r"(to zero.*item\(\)|item\(\).*to zero)"),
    ("training_step", LOSS + "loss.backward()\noptimizer.zero_grad()\noptimizer.step()\n"
     "return loss.item()", "did not change"),
    ("training_step", LOSS + "optimizer.zero_grad()\nloss.backward()\noptimizer.step()\n"
     "return ((network(faces) - truth) ** 2).mean().item()", "(after|before) the step"),
    ("training_step", LOSS.replace(".mean()", ".sum() / len(faces)") + "optimizer.zero_grad()\n"
     "loss.backward()\noptimizer.step()\nreturn loss.item()", "sum"),
    # turning
    ("turning", TURN.replace("- 1)", ")").replace("turn =", "turn = torch.linalg.inv(")
     .replace("cos(a)]])", "cos(a)]]))") + "return torch.cat([turn, (c - turn @ c)[:, None]], 1)",
     "other way.*half a pixel|half a pixel.*other way"),
    ("turning", TURN + "return torch.cat([turn, c[:, None]], 1)", "R c"),
    ("turning", TURN.replace("math.radians(degrees)", "degrees")
     + "return torch.cat([turn, (c - turn @ c)[:, None]], 1)", "radians"),
    ("turning", TURN + "return torch.cat([turn, (turn @ c - c)[:, None]], 1)",
     "(sign|opposite|negative).*column|column.*(sign|opposite|negative)"),
    ("turning", TURN + "return torch.cat([turn, torch.zeros(2, 1)], 1)", "first pixel"),
    # move_both
    ("move_both", "moved = points @ matrices[:, :, :2] + matrices[:, None, :, 2]\n"
     "return warp(images, matrices, *images.shape[-2:]), moved", "transposed"),
    ("move_both", "moved = points @ matrices[:, :, :2].mT + matrices[:, None, :, 2]\n"
     "return images, moved", "picture did not"),
    ("move_both", "moved = points @ matrices[:, :, :2]\n"
     "return warp(images, matrices, *images.shape[-2:]), moved",
     "transposed.*(shift|column)|(shift|column).*transposed"),
    # mirror
    ("mirror", COPY + "points[..., 1] = images.shape[-2] - 1 - points[..., 1]\n"
     "return images.flip(-2), points[:, flip_order]", "upside down"),
    ("mirror", COPY + "points[..., 0] = images.shape[-1] - points[..., 0]\n"
     "return images.flip(-1), points", "one pixel.*left and right|left and right.*one pixel"),
    ("mirror", COPY + "points[..., 0] = images.shape[-2] - 1 - points[..., 0]\n"
     "return images.flip(-1), points[:, flip_order]", r"height|\bH\b|\bx\b.*\b30\b"),
    ("mirror", "points[..., 0] = images.shape[-1] - 1 - points[..., 0]\n"
     "return images.flip(-1), points[:, flip_order]", "changed.*copy"),
    # nme
    ("nme", EYES.replace("truth[", "predicted[")
     + "return (predicted - truth).norm(dim=-1).mean(1) / eyes",
     "prediction.*100|100.*prediction"),
    ("nme", EYES + "return 100 * ((predicted - truth) ** 2).mean((1, 2)).sqrt() / eyes",
     "mean square"),
    ("nme", EYES + "return 100 * (predicted - truth).norm(dim=-1).mean() / eyes",
     "all faces|mean over the faces|wrong dim"),
    ("nme", EYES + "return 100 * (predicted - truth).norm(dim=-1).mean(0) / eyes.mean()",
     "dim=1|wrong dim|mean over the faces"),
    # flip_tta
    ("flip_tta", BACK + "back[..., 0] = faces.shape[-1] - 1 - back[..., 0]\n"
     "return (network(faces) + back) / 2", "1 - x"),
    ("flip_tta", BACK + "back[..., 0] = 1 - back[..., 0]\n"
     "return (network(faces)[:, flip_order] + back) / 2", "both"),
    ("flip_tta", BACK + "return (network(faces) + 1 - back) / 2", r"\by\b"),
    # read_pts
    ("read_pts", "lines = text.splitlines()[3:-1]\n"
     "return torch.tensor([[float(v) - 1 for v in line.split()] for line in lines])",
     "header"),
    ("read_pts", "rows = [line.split() for line in text.splitlines()]\n"
     "rows = [r for r in rows if len(r) == 2 and ':' not in r[0]]\n"
     "return torch.tensor([[int(float(v)) for v in r] for r in rows])",
     "one pixel.*whole|whole.*one pixel"),
    # square_crop
    ("square_crop", BOX + "matrices[:, 0, 2] = -left * s\nmatrices[:, 1, 2] = -top * s\n"
     "return matrices", "half a pixel"),
    ("square_crop", BOX + "matrices[:, 0, 2] = (0.5 - left) * s - 0.5\n"
     "matrices[:, 1, 2] = (0.5 - left) * s - 0.5\nreturn matrices",
     r"row 1, column 2|\by\b"),
    ("square_crop", BOX + "matrices[:, 0, 2] = 0.5 - left - 0.5\n"
     "matrices[:, 1, 2] = 0.5 - top - 0.5\nreturn matrices", "s · |scale|multipl"),
    # back_to_picture
    ("back_to_picture", "back = torch.linalg.inv(matrices[:, :, :2])\n"
     "return points @ back.mT - matrices[:, None, :, 2]", "undone last"),
    ("back_to_picture", "return (points - matrices[:, None, :, 2]) @ matrices[:, :, :2].mT",
     "(same direction|inverse)"),
    # soft_argmax
    ("soft_argmax", CELLS + "return torch.stack([(p.sum(2) * (across - 0.5)).sum(-1) / w, "
     "(p.sum(3) * (down - 0.5)).sum(-1) / h], -1)", "half a cell"),
    ("soft_argmax", CELLS + "x, y = p.sum(2) * across, p.sum(3) * down\n"
     "return torch.stack([y.sum(-1), x.sum(-1)], -1)",
     "exchanged.*cells|cells.*exchanged"),
    # heatmap_loss
    ("heatmap_loss", GAUSS + "target = torch.exp(-(x**2 + y**2) / sigma**2 / 2)\n"
     "return -(target * log_heatmaps).sum((2, 3)).mean()", "its (own )?sum"),
    ("heatmap_loss", GAUSS + "target = torch.exp(-(x**2 + y**2) / sigma**2)\n"
     "target = target / target.sum((2, 3), keepdim=True)\n"
     "return (target * log_heatmaps).sum((2, 3)).mean()", "sign.*2 of|2 of.*sign"),
    # wing_loss
    ("wing_loss", "error = (predicted - truth).abs()\n"
     "near = width * torch.log(1 + error / curvature)\n"
     "return torch.where(error < width, near, error).sum()", "jump.*sum|sum.*jump"),
    ("wing_loss", "error = (predicted - truth).abs()\n"
     "c = width - width * math.log(1 + width / curvature)\n"
     "near = width * torch.log(error / curvature)\n"
     "return torch.where(error < width, near, error - c).mean()", "1 \\+"),
    # failures_and_area
    ("failures_and_area", "area = (1 - errors / limit).clamp(min=0).mean()\n"
     "return (errors > limit).double().mean(), area", "fraction.*100|100 times too small"),
    ("failures_and_area", "area = 100 * (1 - errors / limit).mean()\n"
     "return 100 * (errors >= limit).double().mean(), area",
     "at the limit.*subtracted|subtracted.*at the limit"),
]  # fmt: skip
