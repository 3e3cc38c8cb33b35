"""Bytes to durable files: the disk, the lock, the thread that writes."""
