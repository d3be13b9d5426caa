FROM shop/runtimes:1
LABEL org.opencontainers.image.title="thumbnail" \
      org.opencontainers.image.description="Makes thumbnails with GraphicsMagick"
WORKDIR /var/task
COPY . .
USER 1000:1000
ENTRYPOINT ["node", "/opt/node_modules/aws-lambda-ric/index.mjs"]
CMD ["index.handler"]
