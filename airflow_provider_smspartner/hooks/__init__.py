"""The hook that talks to SMS Partner."""
