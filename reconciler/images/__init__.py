"""Getting, judging, fitting and keeping pictures."""
