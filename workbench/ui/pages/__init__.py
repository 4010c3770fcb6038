"""One package a page. A page gets the Session, shows models, and asks for verbs through the actions."""
