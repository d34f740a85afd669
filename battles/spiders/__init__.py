"""Follow the site's pages and yield requests and items.

replays   walk the search of the replay site and fetch every replay it lists
rooms     watch the list of live battles, and look into every room until its battle ends
"""
