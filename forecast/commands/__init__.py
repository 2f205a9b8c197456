"""What a user can do: a module for each verb."""
