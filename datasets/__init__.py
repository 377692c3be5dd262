"""One file a data set: where it comes from, how it is fetched and read, its splits."""
