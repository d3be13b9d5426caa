# Node.js, Python and AWS's runtime interface clients on Debian. Where Docker Hub and ECR can be reached this
# image is not needed: public.ecr.aws/lambda/nodejs:20 and public.ecr.aws/lambda/python:3.11 have it all.
FROM shop/debian:12
COPY node /usr/local/bin/node
COPY node_modules /opt/node_modules
COPY awslambdaric /opt/awslambdaric
ENV PYTHONPATH=/opt/awslambdaric PYTHONDONTWRITEBYTECODE=1
