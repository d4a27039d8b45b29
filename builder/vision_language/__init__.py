"""Atlases of vision-language models: their own encoder and adapter in place of a trained one."""
