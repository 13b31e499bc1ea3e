"""Networks of other libraries behind our interfaces; each library is an extra."""
