"""Looking at recorded games: in the terminal and as a page."""
