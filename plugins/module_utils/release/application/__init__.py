"""What is done on the hosts of an application. Standard library of Python 3.9 alone."""
