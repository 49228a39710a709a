"""Solutions, and the tools that make the exercises from them. For instructors."""
