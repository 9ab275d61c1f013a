"""`emr-fl data check`: what is in an export and what is wrong with it, on a terminal, as JSON and as a page."""
