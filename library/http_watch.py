#!/usr/bin/python
"""Ansible module: watch how often and how late an application answers."""

from __future__ import annotations

DOCUMENTATION = r"""
module: http_watch
short_description: Watch how often and how late an application answers
version_added: "1.0.0"
description:
  - Sends each of O(requests) again and again for a while, and judges the answers against limits and
    against what they were before.
  - A long watch is made of several calls, each of which is given RV(tally) of the one before as
    O(earlier), so that a person sees how it goes and an unhealthy application is noticed early.
  - An unhealthy application is not a failure of the module; look at RV(wrong).
options:
  requests:
    description:
      - What to send, again and again. With O(seconds=0) each is sent once.
      - A redirect of a request that only reads is followed; to another scheme, host or port it goes
        without the headers.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description:
          - By what people know it; unique.
        type: str
        required: true
      url:
        description:
          - Where to, seen from the host where the module runs.
        type: str
        required: true
      headers:
        description:
          - Headers of the request. They are kept out of all output.
        type: dict
        default: {}
      method:
        description:
          - The method of the request.
        type: str
        default: GET
      body:
        description:
          - Sent as JSON; a text as it is. It is kept out of all output.
        type: raw
      status:
        description:
          - The status that is right.
        type: int
        default: 200
      contains:
        description:
          - A text that must be in the answer.
        type: str
        default: ""
      seconds:
        description:
          - How long an answer may take before it counts as none.
        type: float
        default: 10
  seconds:
    description:
      - How long this call watches. Each request is sent at least once.
    type: float
    required: true
  interval:
    description:
      - From one round of requests to the next, in seconds.
    type: float
    default: 1
  earlier:
    description:
      - RV(tally) of the call before.
    type: dict
    default: {}
  before:
    description:
      - RV(tally) of a watch before the release. Without it, nothing is compared with before.
    type: dict
    default: {}
  done:
    description:
      - The share of the whole watch that is over with this call. Before the end only that is wrong
        which can't become right any more.
    type: float
    default: 1
  limits:
    description:
      - From when on the application is unhealthy.
    type: dict
    default: {}
    suboptions:
      error_rate:
        description:
          - Share of failed requests, beyond the share that failed before.
        type: float
        default: 0.01
      response_ms:
        description:
          - For the percentile of the response times; 0 for no such limit.
        type: float
        default: 0
      slowdown:
        description:
          - How many times the percentile of before it may be; 0 for no such limit.
        type: float
        default: 3
      floor_ms:
        description:
          - Below this, no response counts as slower than before.
        type: float
        default: 100
      percentile:
        description:
          - Which percentage of the responses has to be within the limits.
        type: float
        default: 95
requirements:
  - Python 3.9 or later on the host where the module runs, and nothing else
attributes:
  check_mode:
    description: Sends its requests in check mode too, as they only read.
    support: full
  diff_mode:
    description: Returns what differs.
    support: N/A
  idempotent:
    description: A second run changes nothing.
    support: full
notes:
  - The user needs no right but to send these requests from that host.
author: The migration playbooks' authors (@migration-playbooks)
"""

EXAMPLES = r"""
- name: Watch the application for half a minute
  http_watch:
    requests:
      - name: items are listed
        url: http://localhost:5000/api/items
        contains: '"items"'
    seconds: 30
    limits:
      error_rate: 0.01
      response_ms: 500
"""

RETURN = r"""
tally:
  description: What is known of each request so far, by its name; for O(earlier) and O(before).
  returned: success
  type: dict
  sample:
    items are listed:
      requests: 30
      errors: 1
      ms: [12.1, 11.8, 13.0]
      problems: {"status 500, not 200": 1}
figures:
  description: The same in short, over all requests.
  returned: success
  type: dict
  contains:
    requests:
      description: How many were sent.
      returned: always
      type: int
      sample: 30
    errors:
      description: How many failed.
      returned: always
      type: int
      sample: 1
    error_rate:
      description: Their share.
      returned: always
      type: float
      sample: 0.0333
    response_ms:
      description: The percentile of the response times.
      returned: always; null if nothing was answered
      type: float
      sample: 12.9
wrong:
  description: What is wrong, in words; empty where all is well.
  returned: success
  type: list
  elements: str
  sample: ["items failed 4 of 30 times (13.3%, allowed 1.0%): status 500, not 200 (4 times)"]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.release import http_probe


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "requests": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "url": {"type": "str", "required": True},
                    "headers": {"type": "dict", "default": {}, "no_log": True},
                    "method": {"type": "str", "default": "GET"},
                    "body": {"type": "raw", "no_log": True},
                    "status": {"type": "int", "default": 200},
                    "contains": {"type": "str", "default": ""},
                    "seconds": {"type": "float", "default": 10},
                },
            },
            "seconds": {"type": "float", "required": True},
            "interval": {"type": "float", "default": 1},
            "earlier": {"type": "dict", "default": {}},
            "before": {"type": "dict", "default": {}},
            "done": {"type": "float", "default": 1},
            "limits": {
                "type": "dict",
                "default": {},
                "options": {
                    "error_rate": {"type": "float", "default": 0.01},
                    "response_ms": {"type": "float", "default": 0},
                    "slowdown": {"type": "float", "default": 3},
                    "floor_ms": {"type": "float", "default": 100},
                    "percentile": {"type": "float", "default": 95},
                },
            },
        },
        supports_check_mode=True,
    )
    p = module.params
    limits = http_probe.Limits(**p["limits"])
    tally = http_probe.observe(
        [http_probe.Request(**request) for request in p["requests"]],
        seconds=p["seconds"],
        interval=p["interval"],
        earlier=p["earlier"],
    )
    wrong = http_probe.judge(tally, limits=limits, before=p["before"], done=p["done"])
    figures = http_probe.measure(tally, limits.percentile)
    module.exit_json(changed=False, tally=tally, figures=figures, wrong=wrong)


if __name__ == "__main__":
    main()
