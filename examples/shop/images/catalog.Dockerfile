FROM shop/runtimes:1
LABEL org.opencontainers.image.title="catalog" \
      org.opencontainers.image.description="Knows every photo and its thumbnails"
WORKDIR /srv
COPY . .
USER 1000:1000
CMD ["node", "server.js"]
