"""Argument specs shared by several modules; the doc fragments of the same names document them.

It imports nothing, so that a module can build its argument spec, and then say what is missing,
on a Python that lacks the libraries.
"""

from __future__ import annotations

from typing import Any

Spec = dict[str, dict[str, Any]]

# Documented by the fragment mongo_connection. Names follow community.mongodb, so that an inventory
# written for it keeps working.
CONNECTION_OPTIONS: Spec = {
    "uri": {"type": "str", "no_log": True},
    "login_host": {"type": "str", "default": "localhost"},
    "login_port": {"type": "int", "default": 27017},
    "login_user": {"type": "str"},
    "login_password": {"type": "str", "no_log": True},
    "login_database": {"type": "str", "default": "admin"},
    "replica_set": {"type": "str"},
    "auth_mechanism": {
        "type": "str",
        "choices": ["SCRAM-SHA-256", "SCRAM-SHA-1", "MONGODB-X509", "GSSAPI", "PLAIN"],
    },
    "ssl": {"type": "bool", "default": False, "aliases": ["tls"]},
    "ssl_ca_certs": {"type": "path", "aliases": ["tlsCAFile"]},
    "ssl_certfile": {"type": "path", "aliases": ["tlsCertificateKeyFile"]},
    "ssl_pem_passphrase": {
        "type": "str",
        "no_log": True,
        "aliases": ["tlsCertificateKeyFilePassword"],
    },
    "ssl_crlfile": {"type": "path", "aliases": ["tlsCRLFile"]},
    "ssl_cert_reqs": {
        "type": "str",
        "default": "CERT_REQUIRED",
        "choices": ["CERT_REQUIRED", "CERT_OPTIONAL", "CERT_NONE"],
    },
    "connection_timeout": {"type": "float", "default": 10.0},
    "database": {"type": "str", "required": True},
}

# How these options exclude and need each other, as arguments of AnsibleModule. X.509 and Kerberos
# users have no password: server/connection.py asks for one where the mechanism needs it.
CONNECTION_RULES: dict[str, Any] = {
    "mutually_exclusive": [["uri", "login_user"], ["uri", "replica_set"]],
    "required_by": {"login_password": "login_user"},
}

# Documented by the fragment mongo_definition.
DEFINITION_OPTIONS: Spec = {
    "definition": {"type": "str", "required": True},
    "definition_name": {"type": "str", "default": "definition"},
    "variables": {"type": "dict", "default": {}},
    "collections": {"type": "dict", "default": {}},
    "assume_applied": {"type": "list", "elements": "str", "default": []},
}

# Documented by mongo_rehearse: the documents that one may build on.
EARLIER_OPTIONS: Spec = {
    "earlier": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "definition": {"type": "str", "required": True},
            "definition_name": {"type": "str", "required": True},
            "variables": {"type": "dict", "default": {}},
        },
    },
}

# Documented by the section CHANGE of the fragment mongo_run.
CHANGE_OPTIONS: Spec = {
    "change": {"type": "dict", "default": {}},
}

# Documented by the fragment mongo_run; throttle.Limits has the same names, defaults and bounds.
LIMIT_OPTIONS: Spec = {
    "pause_seconds": {"type": "float"},
    "target_seconds": {"type": "float"},
    "max_lag_seconds": {"type": "float"},
    "max_latency_ratio": {"type": "float"},
    "min_free_tickets": {"type": "float"},
    "max_dirty_ratio": {"type": "float"},
}

# Documented by the fragment mongo_run, whose section CHANGE a module has to name too.
RUN_OPTIONS: Spec = {
    **CHANGE_OPTIONS,
    "batch_size": {"type": "int"},
    "throttle": {"type": "dict", "options": LIMIT_OPTIONS},
    "lease_seconds": {"type": "int", "default": 30},
    "retry_seconds": {"type": "int", "default": 300},
    "progress_file": {"type": "path"},
    "secrets": {"type": "dict", "no_log": True, "default": {}},
}

# Documented by the fragment mongo_fleet; what they mean, fleet.Options says.
FLEET_OPTIONS: Spec = {
    "fleet": {
        "type": "dict",
        "options": {
            "databases": {"type": "raw", "required": True},
            "only": {"type": "list", "elements": "str", "default": []},
            "canary": {"type": "raw"},
            "canary_then": {"type": "str", "choices": ["stop", "go"], "default": "stop"},
            "lanes": {"type": "int", "default": 2},
            "failures_allowed": {"type": "int", "default": 0},
        },
    },
}

# Documented by mongo_monitor and mongo_monitor_app: how to ask one instance of the application.
APPLICATION_OPTIONS: Spec = {
    "url": {"type": "str"},
    "status": {"type": "list", "elements": "int", "default": [200]},
    "timeout": {"type": "float", "default": 5.0},
    "log": {"type": "dict"},
}
