"""llama.cpp's server by the arguments of `llama-server`, from the bindings that have it inside.

The server is the real one; this is what its `main` would do.
"""

import argparse
import threading

import xllamacpp

parser = argparse.ArgumentParser()
for name in ["--host", "--model"]:
    parser.add_argument(name)
for name in ["--port", "--ctx-size", "--parallel"]:
    parser.add_argument(name, type=int)
parser.add_argument("--api-key", action="append", default=[])
arguments = parser.parse_args()

params = xllamacpp.CommonParams()
params.model.path = arguments.model
params.n_ctx = arguments.ctx_size
params.n_parallel = arguments.parallel
params.hostnames = [arguments.host]
params.port = arguments.port
params.api_keys = arguments.api_key
params.verbosity = 0
server = xllamacpp.Server(params)
print("listening on", server.listening_address, flush=True)
threading.Event().wait()
