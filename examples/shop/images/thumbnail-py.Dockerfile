FROM shop/runtimes:1
LABEL org.opencontainers.image.title="thumbnail-py" \
      org.opencontainers.image.description="Makes thumbnails with Pillow"
WORKDIR /var/task
COPY . .
ENV PYTHONPATH=/var/task/packages:/opt/awslambdaric
USER 1000:1000
ENTRYPOINT ["python3.11", "-m", "awslambdaric"]
CMD ["app.handler"]
