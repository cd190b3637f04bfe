"""What the writer tells whoever counts: a Django signal, sent only if somebody listens.

No message passes here.
"""

from django.dispatch import Signal

# After each batch, on the writer's thread: `size`, how many writes were in it.
batch_written = Signal()
