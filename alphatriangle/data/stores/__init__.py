"""Where bytes are kept elsewhere: another folder, or an object store."""
