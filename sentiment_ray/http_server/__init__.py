"""What every HTTP service needs: its address, connections that lose no answer, a drained end, the access log."""
