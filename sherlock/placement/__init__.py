"""Which verifier goes on which node: what each choice gains and costs in, a plan out. Nothing here runs a workflow."""
