# One image for every part of Slipway; deploy/kubernetes says which command each one runs.
FROM python:3.11-slim-bookworm AS build
RUN python -m venv /opt/venv
COPY requirements.txt /tmp/
RUN /opt/venv/bin/pip install --no-cache-dir --require-hashes -r /tmp/requirements.txt
WORKDIR /app
COPY . .
# Collecting needs settings, and nothing of them stays in what it makes.
RUN SLIPWAY_SECRET_KEY=only-while-the-image-is-built-and-of-no-use-later-0 \
    SLIPWAY_ENCRYPTION_KEYS=MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY= \
    SLIPWAY_URL=https://build.invalid SLIPWAY_APPS_URL=https://apps.build.invalid \
    /opt/venv/bin/python manage.py collectstatic --no-input \
 && /opt/venv/bin/python -m compileall -q /app

FROM python:3.11-slim-bookworm
# Slurm's client is what asks Slurm clusters for their state. Debian's is of release 22.05: for a cluster that takes no client
# so old (see docs/slurm.md), build from this image with your own.
RUN apt-get update \
 && apt-get install -y --no-install-recommends nginx-light slurm-client slurm-wlm-jwt-plugin \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 1000 --user-group --no-create-home --home-dir /tmp --shell /usr/sbin/nologin slipway
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
USER 1000:1000
EXPOSE 8000 8001 8080
CMD ["python", "-m", "gunicorn", "config.wsgi", "--bind", "0.0.0.0:8000", "--worker-class", "gthread", "--threads", "8", "--no-control-socket"]
