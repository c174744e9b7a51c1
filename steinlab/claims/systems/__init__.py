"""Few-step systems beside the paper: what their authors say of them, judged on exact laws."""
