"""What the trainings with torch share: the session of a training, its pictures and their order, backbone and export."""
