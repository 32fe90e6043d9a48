"""Documentation of the options that every module of this project has for its connection."""

from __future__ import annotations


class ModuleDocFragment:
    """The options of ``mongo_migration.argument_specs.CONNECTION_OPTIONS``."""

    DOCUMENTATION = r"""
options:
  uri:
    description:
      - Connection string, for example V(mongodb://migrator:secret@db1,db2,db3/?replicaSet=rs0).
      - Escape C(:), C(/), C(@) and C(%) in its user and password as C(%3A), C(%2F), C(%40), C(%25)
        (the filter P(ansible.builtin.urlencode#filter) does it for all but C(/)).
      - The TLS options and O(auth_mechanism) apply beside it; it excludes O(login_user) and
        O(replica_set). A string that contradicts them, as C(tlsInsecure=true) does unless
        O(ssl_cert_reqs=CERT_NONE), is refused.
      - Of its options, those are obeyed that say where the servers are, how to log in and how to
        encrypt or compress. What a migration's correctness needs is set by us, whatever the string
        says, and a warning names each option that asks for something else, such as
        C(readPreference), C(readConcernLevel), C(w), C(wtimeoutMS), C(socketTimeoutMS),
        C(timeoutMS), C(retryWrites) or C(uuidRepresentation). Time-outs are
        O(connection_timeout)'s.
      - With C(directConnection=true) the member must be the primary; a failover then can't be
        followed.
      - The string and the password in it are kept out of all output. Take it from a vaulted
        variable.
    type: str
  login_host:
    description:
      - The host that runs MongoDB. One member of a replica set is enough, the others are found
        from it. Not used with O(uri).
    type: str
    default: localhost
  login_port:
    description:
      - The port of O(login_host).
    type: int
    default: 27017
  login_user:
    description:
      - The user to log in as.
      - Needs O(login_password), except with O(auth_mechanism=MONGODB-X509) and
        O(auth_mechanism=GSSAPI).
    type: str
  login_password:
    description:
      - The password of O(login_user). Take it from a vaulted variable.
    type: str
  login_database:
    description:
      - The database that holds the user, also known as authSource.
      - The mechanisms whose users no database holds (V(MONGODB-X509), V(GSSAPI), V(PLAIN)) use
        C($external) where this is left at its default.
    type: str
    default: admin
  replica_set:
    description:
      - The name of the replica set; connecting to a set of another name fails.
      - Without it, the set is found from O(login_host), whatever its name.
    type: str
  auth_mechanism:
    description:
      - How to log in. Without it, client and server agree on the strongest SCRAM.
    type: str
    choices: [SCRAM-SHA-256, SCRAM-SHA-1, MONGODB-X509, GSSAPI, PLAIN]
  ssl:
    description:
      - Whether to encrypt the connection. The other C(ssl_) options need it, unless O(uri)
        switches TLS on.
    type: bool
    default: false
    aliases: [tls]
  ssl_ca_certs:
    description:
      - File with the certificates of the authorities that sign the server's. Without it, the
        system's authorities are trusted.
    type: path
    aliases: [tlsCAFile]
  ssl_certfile:
    description:
      - File with the client's certificate B(and) private key, as PEM.
    type: path
    aliases: [tlsCertificateKeyFile]
  ssl_pem_passphrase:
    description:
      - The passphrase of the private key in O(ssl_certfile). Take it from a vaulted variable.
    type: str
    aliases: [tlsCertificateKeyFilePassword]
  ssl_crlfile:
    description:
      - File with revoked certificates.
    type: path
    aliases: [tlsCRLFile]
  ssl_cert_reqs:
    description:
      - Whether the server must prove who it is. V(CERT_OPTIONAL) and V(CERT_NONE) accept any
        certificate, and so anybody between client and server; they are for a laboratory.
    type: str
    default: CERT_REQUIRED
    choices: [CERT_REQUIRED, CERT_OPTIONAL, CERT_NONE]
  connection_timeout:
    description:
      - Seconds until a connection, or the search for a primary, is given up.
    type: float
    default: 10.0
  database:
    description:
      - The database that is migrated. What the migrations know of themselves is in it too, in the
        collections C(_migrations) and C(_migrations_journal), so that a backup carries it.
    type: str
    required: true
requirements:
  - python >= 3.11 on the host that runs the module
  - pymongo >= 4.20
  - MongoDB >= 4.4
notes:
  - The module runs where the play's connection leads, and connects to MongoDB from there. With
    C(ansible_connection=local) nothing has to be installed on the database hosts.
"""
