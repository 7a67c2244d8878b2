"""Values and rules of the product: statuses, the flow language, IDs, errors.

No I/O, and no imports of other rooms. The only mutable state of the process is the clock (`clock.set_clock`) and the
last ID that was made (`ids`).
"""
