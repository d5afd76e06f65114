"""llama.cpp's server on a model: `llama.py MODEL.gguf`.

As its bindings have it, with threads as it chooses itself, one a core, as Skep's worker does; the context is that of
the worker.
"""

import sys
import threading

import xllamacpp

params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.n_ctx = 4096
params.n_parallel = 1
params.hostnames = ["127.0.0.1"]
params.port = 0
params.verbosity = 0
server = xllamacpp.Server(params)
print("listening on", server.listening_address, flush=True)
threading.Event().wait()
