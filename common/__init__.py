"""What every part uses: it knows no part and no particular data set."""
