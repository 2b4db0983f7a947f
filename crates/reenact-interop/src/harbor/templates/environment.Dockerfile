# The agent's machine: compilers, the documentation, and the original program, which can be run but not read.
FROM @BASE@
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends @PACKAGES@ \
 && rm -rf /var/lib/apt/lists/*
@MASKS@RUN useradd --create-home --shell /bin/bash agent && mkdir -p /workspace
@RUNTIME@COPY --chown=root:root --chmod=0111 reference /opt/original/program
@DOCS@RUN chown -R agent:agent /workspace && ln -s /opt/original/program /workspace/executable
WORKDIR /workspace
