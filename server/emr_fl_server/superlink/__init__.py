"""Starting and guarding Flower's processes, and the one port that sites reach."""
