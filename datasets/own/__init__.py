"""Your own points: pictures with any number of labelled points, in one of the usual formats."""
