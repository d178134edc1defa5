"""Google Cloud Storage, and servers that speak its protocol.

What it keeps to, and where:

* A version is a generation: the server counts it up with every write of any object, so that no
  two writes share one. Conditional puts are its preconditions, checked where the object is kept;
  creating is "generation 0" (`_requests`).
* Bytes, size, generation, times and metadata of a read come from one answer (`_replies`).
* Large ranges are read in parts side by side, of one generation (`_large_reads`).
* Objects are uploaded in one request, with their checksum; very large ones in a resumable upload
  (`_operations`).
* Requests go over `aiohttp`, one session for each event loop (`_lean`, `_loop_sessions`), or, when
  that is switched off, over a `requests` session in worker threads (`_session`). Copies and resumable
  uploads are Google's client, on that session (`_operations`). All sign with the same tokens, renewed
  once however many requests wait for them (`_tokens`).
* Every failure has one meaning, found in one table (`_errors`), and one policy of repetition: full
  jitter, a limit of tries and a total deadline (`_retry`). A conditional put whose first answer
  got lost is never reported as a lost race.
* A cancelled put is waited for, shortly, so that it does not land behind the caller's back (`_threads`).
* A client is used from any number of threads and event loops. A forked child makes connections
  of its own (`_client`).

Limits:

* One object can be written about once a second; more is answered with 429, which is waited for.
* Objects above the limit of one request are written in resumable uploads. Google holds their
  conditions; fake-gcs-server ignores them.
"""
