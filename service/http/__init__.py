"""HTTP as the standards have it: the connection, the request, the frame around every answer, problems."""
