"""Running a real federation: the commands of the coordinator and of a site."""
