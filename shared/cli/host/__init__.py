"""A local Azure Functions host: loads the app, serves its HTTP functions, runs its timers.

What the real host does where it matters to an app is done here too: route precedence, 404 where no function serves a
method, the request as the Python worker hands it on, past-due timers. Keys are not asked for, as in Core Tools.
"""
