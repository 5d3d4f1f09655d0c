"""The configuration of a Postfix in front: written, explained, and compared with a running one."""
