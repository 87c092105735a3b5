"""Another user, without a name and a home; only root can become one."""

NOBODY = (
    *("setpriv", "--reuid=12345", "--regid=12345", "--clear-groups"),
    # To read this Python, which may lie below root's home.
    *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"),
    *("env", "--unset=HOME"),
)
"""What a command of this user begins with."""
