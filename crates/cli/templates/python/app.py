def handler(event, context):
    """Called with every event; what it returns is the answer."""
    print("event", context.aws_request_id)
    return {"hello": "from FUNCTION_NAME", "event": event}
