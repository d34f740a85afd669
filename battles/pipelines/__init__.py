"""What happens to an item, in this order; each returns the item or drops it with a reason.

validate   drop what is no usable, public battle; take out the chat
archive    write the battle to a segment, and wait until its bytes are durable
index      say in Redis where the battle lies

An item that is no battle, of a spider of one's own, passes all of them as it is.
"""
