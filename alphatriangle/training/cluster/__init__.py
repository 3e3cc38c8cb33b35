"""The Ray that training runs on: which one, who is in it, what runs where."""
