# The build serves. Beside it lie the source and what it imports, for the kysely CLI and for agents that trace: the image
# that serves is the image that migrates, and the one that is traced.

# Another image, of a registry of your own for instance: --build-arg NODE_IMAGE=registry.example.com/node:26-bookworm-slim
ARG NODE_IMAGE=base

# The major version and the distribution; patches come with a rebuild (--pull). It does not stand in the ARG, because
# Dependabot resolves none: https://github.com/dependabot/dependabot-core/issues/2057.
FROM node:26-bookworm-slim AS base

FROM ${NODE_IMAGE} AS manifest
WORKDIR /app
# npm reads it from the environment.
ARG NPM_CONFIG_REGISTRY
COPY package.json package-lock.json ./

# The two files of npm's settings are mounted and not copied, so that a token in one of them is in no layer. The secret is
# optional; a line of the project's file wins over it.
FROM manifest AS dependencies
# No scripts: no production dependency has one, and it would run as root. The optional one is the bundler.
RUN --mount=type=cache,target=/root/.npm,sharing=locked \
    --mount=type=bind,source=.npmrc,target=.npmrc \
    --mount=type=secret,id=npmrc,target=/root/.npmrc \
    npm ci --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund

FROM manifest AS build
RUN --mount=type=cache,target=/root/.npm,sharing=locked \
    --mount=type=bind,source=.npmrc,target=.npmrc \
    --mount=type=secret,id=npmrc,target=/root/.npmrc \
    npm ci --omit=dev --ignore-scripts --no-audit --no-fund
COPY dev/build.ts dev/compiled-settings.ts dev/fingerprint.js dev/kept-code.cjs dev/
COPY src src
COPY migrations migrations
RUN node dev/build.ts

FROM ${NODE_IMAGE}
# The service needs node alone: neither npm, nor the base's entry point, a shell script that would be process 1 first.
RUN rm -rf /usr/local/lib/node_modules /usr/local/include /opt/yarn-* \
    /usr/local/bin/npm /usr/local/bin/npx /usr/local/bin/corepack /usr/local/bin/yarn* \
    /usr/local/bin/docker-entrypoint.sh
# .bin on the PATH: docker run IMAGE kysely migrate:latest
ENV NODE_ENV=production HOST=:: PORT=3000 PATH=/app/node_modules/.bin:$PATH
# A name server that was silent is asked again after a second, not five: a backend that is back is found as soon.
ENV RES_OPTIONS="timeout:1 attempts:2"
WORKDIR /app
# What changes least comes first. All of it belongs to root: the service cannot write its own code.
COPY --from=dependencies /app/node_modules node_modules
COPY package.json kysely.config.ts serve.js ./
COPY src src
COPY migrations migrations
COPY --from=build /app/dist dist

# By number, since Kubernetes' runAsNonRoot cannot tell who a name is. It is the base's user `node`.
USER 1000:1000
EXPOSE 3000
# Alive, not ready: a restart cures no backend. Without NODE_OPTIONS: an agent that is loaded by them would be loaded for
# each check, which then takes ten times as long.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["env", "-u", "NODE_OPTIONS", "node", "dist/src/healthcheck.js", "/health/live"]
ENTRYPOINT []
# node is process 1 and gets the signals itself.
CMD ["node", "serve.js"]

# Last, so that a new commit does not invalidate the layers above.
ARG VERSION=1.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="footing" \
    org.opencontainers.image.description="A minimal Fastify service on PostgreSQL and Redis whose health probes tell the truth" \
    org.opencontainers.image.licenses="MIT" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"
