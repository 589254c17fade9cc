"""Fine-tunes and serves sentiment models behind the OpenAI API: files, jobs, models, chat, decisions, batches."""
