"""Official runtimes and quantizers, each run in a child process and imported only there.

`child` starts and watches the process, `worker` is what runs in it, `interpreter` runs models.
"""
