"""What an account sets up besides messages, and the changes it may make to it.

No message is delivered here. broker/api/ reads the request, one of these modules makes the
change in a transaction, and the stages of a delivery (lanes.py, publishing.py, firing.py)
find it in the database.
"""
