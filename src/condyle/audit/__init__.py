"""What is wrong with a data set: findings, each with what to do; and copies that are repaired."""
