# The verifier's machine: the same compilers as the agent's, the grader and the hidden suite.
FROM @BASE@
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends @PACKAGES@ \
 && rm -rf /var/lib/apt/lists/*
COPY . /tests/
RUN chmod -R go-w /tests && chmod 0755 /tests/test.sh /tests/bin/reenact
WORKDIR /tests
