"""What a JSON Schema cannot say of a request."""

import schemathesis


@schemathesis.hook
def filter_body(_context, body):
    """Leaves out orders whose total is beyond what JSON clients read exactly: they are refused."""
    try:
        return sum(item["quantity"] * item.get("unitPrice", 0) for item in body["items"]) <= 2**53 - 1
    except (KeyError, TypeError, AttributeError):
        return True  # made to break the description
