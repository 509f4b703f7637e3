"""One module a command, each with a function `command`; `app` imports the one that is called."""
